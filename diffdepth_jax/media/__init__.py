"""Images, video, cameras, point clouds: reading, preprocessing, drawing, writing."""
