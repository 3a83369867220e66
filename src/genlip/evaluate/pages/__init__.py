"""Pages: results as HTML that needs nothing but itself."""
