# Curves and contact sheets.
def titled_losses(wildcards, input):
    """A parameter: tables of losses as TITLE=PATH, `distill` or `ssmtl-0`."""
    return [
        f"{'-'.join(Path(path).with_suffix('').parts[2:]).removeprefix('teach-').removesuffix('-losses')}={path}"
        for path in input.losses
    ]


rule report:
    input:
        scores=all_scores(),
        labels=lambda wc: plan_of(wc.dataset).known_labels(),
        stores=ancient(stores("test")),
        manifests=manifests("test"),
        maps=ancient(batches("test", "results/{dataset}/score/student/{batch}.zarr")),
        scored=batches("test", "results/{dataset}/score/student/{batch}.json"),
        losses=lambda wc: [
            f"results/{wc.dataset}/pretrain/losses.csv",
            f"results/{wc.dataset}/distill/losses.csv",
            *expand(
                "results/{dataset}/teach/{teacher}/{fold}.csv",
                dataset=wc.dataset,
                teacher=teachers(wc),
                fold=folds(wc),
            ),
        ],
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
    params:
        cfg=settings_of("report"),
        code=code_of("report"),
        scores=named("scores", -2),
        labels=labels_of_clips,
        layout=layout_of,
        losses=titled_losses,
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "python -m fastaed report {params.scores:q} --labels {params.labels:q} --layout {params.layout} "
        "--stores {input.stores:q} "
        "--maps {input.maps:q} --losses {params.losses:q} --out {output:q} --settings {params.cfg:q} 2> {log:q}"
