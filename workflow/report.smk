# Curves and contact sheets.
rule report:
    input:
        scores=scores("test"),
        labels=given(known_truth),
        decoded=ancient(decoded("test")),
        maps=ancient(
            batches("test", "results/{dataset}/score/student/test/{batch}.zarr")
        ),
        scored=batches("test", "results/{dataset}/score/student/test/{batch}.json"),
        losses=all_losses,
    output:
        report(
            directory("results/{dataset}/report"),
            patterns=["{picture}.png"],
            category="{dataset}",
        ),
    log:
        "logs/{dataset}/report.log",
    benchmark:
        "benchmarks/{dataset}/report.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        cfg=settings_of("report"),
        code=code_of("report"),
        stores=stores("test"),
        contents=contents_of(known_truth),
        scores=by_model("scores"),
        labels=labels_of_clips,
        layout=layout_of,
        losses=titled_losses,
    shell:
        "python -m fastaed report {params.scores:q} --labels {params.labels:q} --layout {params.layout} "
        "--stores {params.stores:q} "
        "--maps {input.maps:q} --losses {params.losses:q} --out {output:q} --settings {params.cfg:q} 2> {log:q}"
