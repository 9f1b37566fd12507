# Scores and labels -> the table of AUCs.
def all_scores(pattern="results/{dataset}/score/{model}/{batch}.parquet"):
    """Score files of the student and of every teacher."""
    return batches("test", pattern, model=lambda wc: ["student", *teachers(wc)])


rule evaluate:
    input:
        scores=all_scores(),
        labels=lambda wc: plan_of(wc.dataset).all_labels(),
    output:
        table="results/{dataset}/auc.csv",
        kinds="results/{dataset}/evaluate/kinds.csv",
    log:
        "logs/{dataset}/evaluate.log",
    benchmark:
        "benchmarks/{dataset}/evaluate.tsv"
    conda:
        "../envs/report.yaml"
    params:
        cfg=settings_of("evaluate"),
        code=code_of("evaluate"),
        scores=named("scores", -2),
        labels=labels_of_clips,
        layout=layout_of,
    resources:
        mem_mb=4000,
        runtime=30,
    shell:
        "python -m fastaed evaluate {params.scores:q} --labels {params.labels:q} --layout {params.layout} "
        "--dataset {wildcards.dataset:q} "
        "--out {output.table:q} --kinds {output.kinds:q} --settings {params.cfg:q} 2> {log:q}"
