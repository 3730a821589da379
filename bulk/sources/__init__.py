"""Read images from folders, WebDataset tars and Parquet data sets."""
