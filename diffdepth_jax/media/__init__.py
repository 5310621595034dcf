"""Pictures, video, cameras and point clouds: read, drawn, prepared."""
