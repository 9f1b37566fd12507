# Scores and labels -> the table of AUCs.
rule evaluate:
    input:
        scores=all_scores,
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
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        cfg=settings_of("evaluate"),
        code=code_of("evaluate"),
        scores=named("scores", -2),
        labels=labels_of_clips,
        layout=layout_of,
    shell:
        "python -m fastaed evaluate {params.scores:q} --labels {params.labels:q} --layout {params.layout} "
        "--dataset {wildcards.dataset:q} "
        "--out {output.table:q} --kinds {output.kinds:q} --settings {params.cfg:q} 2> {log:q}"
