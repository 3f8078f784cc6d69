"""What leaves the node: MQTT and evidence upload."""
