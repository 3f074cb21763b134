"""Measures of answers and masks, one file a measure, each by its published definition."""
