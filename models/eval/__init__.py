"""How good a model is: on held-out photos, as a whole node on recordings, and whether its runtimes agree.

    network      a model folder (or a `.pt`) looked through as the node does
    ap           matching and average precision, as COCO defines them
    scores       everything that is measured on photos
    scenes       recordings with known truth: clips, and slow pans over held-out photos
    events       alarms of the real node on them: precision, recall, false alarms an hour
    misses       the worst mistakes as pictures
    page         the report as one HTML file
    runtimes     each runtime against the `.pt`: mAP and speed

`banksman model eval --help`, `banksman model runtimes --help`.
"""
