"""From detections to tracked persons with what they wear."""
