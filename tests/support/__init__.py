"""What the tests stand on: real servers, data in them, the program as a process, an oracle."""
