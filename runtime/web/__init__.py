"""The page that runs a bundle in the browser, and its server."""
