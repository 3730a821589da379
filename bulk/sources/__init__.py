"""Where images come from: files of a folder, WebDataset tars, Parquet data sets."""
