"""Tables, charts and the page; reads records only."""
