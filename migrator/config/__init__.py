"""TOML to typed settings; secrets, looked up when they are needed."""
