"""Looking at a data set: one page for a browser, or a recording for the Rerun viewer."""
