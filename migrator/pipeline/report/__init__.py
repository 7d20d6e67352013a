"""What a run did, as a document: its data, the files, the HTML page."""
