"""Code that the service, bulk runs and training share: storage, settings, statistics, tar and WebDataset readers."""
