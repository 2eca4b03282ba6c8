"""Figures from run records, small SVG files whose text is text, readable in grey."""
