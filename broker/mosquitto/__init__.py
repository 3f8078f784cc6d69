"""Configuration of the production broker, Mosquitto: made from a typed settings file, and checked."""
