# Scores and labels -> tables and a page.
rule evaluate:
    input:
        scores=scores("test"),
        normal=scores("validation"),
        repeats=repeats("test"),
        maps=ancient(maps_of("test")),
        labels=given(all_truth),
        tracks=given(tracks),
        decoded=ancient(decoded("test")),
        scored=batches("test", "results/{dataset}/score/student/{split}/{batch}.json"),
    output:
        table="results/{dataset}/auc.csv",
        details=report(
            directory("results/{dataset}/evaluate"),
            patterns=["{page}.html"],
            category="{dataset}",
        ),
    log:
        "logs/{dataset}/evaluate.log",
    benchmark:
        "benchmarks/{dataset}/evaluate.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        cfg=settings_of("evaluate"),
        code=code_of("evaluate"),
        stores=stores("test"),
        contents=contents_of(known_truth, tracks),
        scores=by_model("scores"),
        normal=by_model("normal"),
        repeats=by_seed,
        maps=by_model("maps"),
        labels=labels_of_clips,
        tracks=tracks_of_clips,
        layout=layout_of,
        without_events=[],
    shell:
        "python -m fastaed evaluate {params.scores:q} --normal {params.normal:q} --repeats {params.repeats:q} --maps {params.maps:q} "
        "--labels {params.labels:q} --layout {params.layout} --tracks {params.tracks:q} "
        "--stores {params.stores:q} --without-events {params.without_events:q} --dataset {wildcards.dataset:q} "
        "--out {output.details:q} --table {output.table:q} --settings {params.cfg:q} 2> {log:q}"
