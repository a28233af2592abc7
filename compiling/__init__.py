"""How ``lockscope/core`` is compiled while lockscope is installed. No part of what is installed."""
