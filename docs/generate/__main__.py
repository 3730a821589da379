"""Rewrite the generated parts of the documentation: `python -m docs.generate`, or `make reference`."""

from docs.generate.files import ROOT, generated_files


def main() -> None:
    """Write each file that has changed, and name it."""
    for path, content in generated_files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
