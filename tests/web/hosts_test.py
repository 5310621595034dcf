"""The names of the page: foreign names and foreign pages are refused."""

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.web.hosts import Hosts

HERE = ["localhost", "localhost:7860", "LOCALHOST", "localhost.", "127.0.0.1:7860", "[::1]:7860"]
NOWHERE = ["", "evil.example", "localhost.evil.example", "user@localhost", "localhost:x"]
NOWHERE += ["localhost/evil", "localhost,evil.example", "evil.example#localhost", "[::1", "a b"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_names_of_this_machine_and_no_others_are_served(host):
    hosts = Hosts(host)
    assert all(hosts.serves(name) for name in HERE)
    assert not any(hosts.serves(name) for name in NOWHERE)


def test_addresses_are_served_where_the_page_listens():
    assert Hosts("192.0.2.7").serves("192.0.2.7:7860")
    assert not Hosts("192.0.2.7").serves("192.0.2.8:7860")
    for everywhere in ("0.0.0.0", "::", "[::]"):
        assert Hosts(everywhere).serves("192.0.2.8:7860")
        assert Hosts(everywhere).serves("[2001:db8::7]:7860")


def test_listed_names_are_served():
    hosts = Hosts("127.0.0.1", ["Depth.example.org", " gpu-box"])
    assert hosts.serves("depth.example.org") and hosts.serves("gpu-box:7860")
    assert not hosts.serves("www.depth.example.org")


@pytest.mark.parametrize("name", ["https://a.org", "a.org:80", "a.org/x", "*", "", "*.a.org"])
def test_refuses_what_is_no_name(name):
    with pytest.raises(UserError, match=r"allowed_hosts .*: give names such as"):
        Hosts("127.0.0.1", [name])


def test_only_the_page_itself_and_listed_names_send():
    hosts = Hosts("127.0.0.1", ["depth.example.org"])
    assert hosts.sends("http://localhost:7860", "localhost:7860")
    assert hosts.sends("https://depth.example.org", "127.0.0.1:7860")  # the proxy replaced Host
    for origin in ("null", "", "http://localhost:3000", "http://127.0.0.1:7860", "file://"):
        assert not hosts.sends(origin, "localhost:7860")
    assert not hosts.sends("https://evil.example", "depth.example.org")
    assert not hosts.sends("ftp://localhost:7860", "localhost:7860")
