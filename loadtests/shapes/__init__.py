"""Numbers of users over time, for locust: `-f loadtests/traffic.py,loadtests/shapes/NAME.py`."""
