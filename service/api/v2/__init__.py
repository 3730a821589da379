"""The Open Inference Protocol V2, the protocol of Triton and KServe, under `/v2`."""
