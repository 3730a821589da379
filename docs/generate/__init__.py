"""Write the generated parts of the documentation: tables of the reference, pictures, and figures of benchmarks."""
