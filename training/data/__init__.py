"""From folders of labelled images to splits, shards and training batches."""
