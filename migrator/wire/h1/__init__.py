"""HTTP/1.1 for downloads: a pool of connections, and the reading of a response, on llhttp."""
