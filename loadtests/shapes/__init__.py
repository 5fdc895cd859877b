"""How many users there are when, for locust: `-f loadtests/traffic.py,loadtests/shapes/NAME.py`."""
