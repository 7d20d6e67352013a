"""An archive on disk: blobs, catalog, journal, lock. Nothing above opens a file of it."""
