"""The paper's experiments, run again on a data set with several seeds, and the page that sets both side by side."""
