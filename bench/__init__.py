"""Speed and memory of a running server, measured from outside (`make bench`, docs/performance.md)."""
