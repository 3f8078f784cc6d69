"""`python -m edge.site`: write the JSON Schemas of the site file."""

from edge.site.schema import write

if __name__ == "__main__":
    for path in write():
        print(path.name)  # noqa: T201
