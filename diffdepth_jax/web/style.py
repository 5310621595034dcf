"""The page's style sheet and its few lines of JavaScript."""

import base64
import pathlib

EXAMPLES = sorted((pathlib.Path(__file__).parent / "examples").glob("*.jpg"))

_CSS = """
body {background: var(--body-background-fill) !important}
.gradio-container {max-width: 1920px !important; margin: 0 auto !important}
#head {flex-wrap: nowrap; align-items: center; justify-content: space-between}
#theme {flex: 0 0 auto; width: auto; min-width: 0 !important}
#head > :first-child {min-width: 0}
#message:not(:has(p)) {display: none}
#message p {margin: 0; padding: .6em .8em; border-radius: 8px; background: #b91c1c; color: #fff;
  font-size: 1.05em}
#pixel {align-items: center}
#pixel > .metres {flex: 3 1 200px}
.metres p {font-size: 1.15em; margin: 0}
.picture {min-height: 120px}
.picture img {width: 100%; max-height: 75vh; object-fit: contain}
.picture .icon-button-wrapper {display: none}
#depth {min-height: 260px}
#depth img, .picture button img {cursor: crosshair}
#examples {gap: 8px; flex-wrap: nowrap}
#examples button {min-width: 0; min-height: 84px; padding: 4px; align-items: flex-end;
  background-size: cover; background-position: center; color: #fff;
  text-shadow: 0 0 4px #000, 0 0 4px #000}
:is(button, a, input, [tabindex]):focus-visible {outline: 3px solid var(--color-accent);
  outline-offset: 2px}
"""

# The regions of answers are told by screen readers; pictures get names that say what they show.
ON_LOAD = """() => {
  const names = {photo: "The photo", depth: "Its depth in colours, with a scale in metres",
    spread: "How uncertain its depth is", denoising: "The denoising, step by step",
    left_photo: "The kept photo", left_depth: "The depth of the kept photo",
    right_photo: "The latest photo", right_depth: "The depth of the latest photo"};
  document.documentElement.lang = "en";
  if (localStorage.getItem("theme")) {
    document.body.classList.toggle("dark", localStorage.getItem("theme") === "dark");
  }
  const name_all = () => {
    for (const region of document.querySelectorAll(".told")) {
      region.setAttribute("aria-live", "polite");
    }
    for (const [id, name] of Object.entries(names)) {
      for (const image of document.querySelectorAll(`#${id} img`)) {
        if (image.alt !== name) image.alt = name;
      }
    }
  };
  name_all();
  new MutationObserver(name_all).observe(document.body, {childList: true, subtree: true});
}"""
TOGGLE_THEME = """() => {
  const dark = document.body.classList.toggle("dark");
  localStorage.setItem("theme", dark ? "dark" : "light");
}"""
CLEAR = "() => ''"


def css() -> str:
    """Returns the style sheet; the examples' pictures are in it."""
    pictures = (
        f"#example_{path.stem} {{background-image: url(data:image/jpeg;base64,"
        f"{base64.b64encode(path.read_bytes()).decode()})}}"
        for path in EXAMPLES
    )
    return "\n".join([_CSS, *pictures])
