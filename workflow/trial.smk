# Validation clips with synthetic anomalies -> the same table and page as of the test split; choices are made there.
# For teachers alone a second table, where all training clips that the same folds judge are normal footage, too.
rule trial:
    input:
        decoded_original,
    output:
        store=directory("results/{dataset}/decode/trial/{clip}.zarr"),
        manifest="results/{dataset}/decode/trial/{clip}.json",
        labels="results/{dataset}/trial/labels/{clip}.csv",
        tracks="results/{dataset}/trial/tracks/{clip}.csv",
    log:
        "logs/{dataset}/trial/{clip}.log",
    benchmark:
        "benchmarks/{dataset}/trial/{clip}.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        cfg=settings_of("trial"),
        code=code_of("trial"),
        number=lambda wc: plan_of(wc.dataset).clips("trial").index(wc.clip),
        store=lambda wc: f"results/{wc.dataset}/decode/train/{plan_of(wc.dataset).made_from(wc.clip)}.zarr",
    shell:
        "python -m fastaed trial {params.store:q} --number {params.number} --out {output.store:q} "
        "--manifest {output.manifest:q} --labels {output.labels:q} --tracks {output.tracks:q} "
        "--settings {params.cfg:q} 2> {log:q}"


rule trial_contact:
    input:
        decoded=decoded("trial"),
        labels=trial_files("labels"),
        tracks=trial_files("tracks"),
    output:
        report("results/{dataset}/trial/contact.png", category="{dataset}"),
    log:
        "logs/{dataset}/trial_contact.log",
    benchmark:
        "benchmarks/{dataset}/trial_contact.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=code_of("trial"),
        stores=stores("trial"),
    shell:
        "python -m fastaed trial {params.stores:q} --labels {input.labels:q} --tracks {input.tracks:q} "
        "--contact {output:q} 2> {log:q}"


use rule evaluate as evaluate_trial with:
    input:
        scores=scores("trial"),
        normal=scores("validation"),
        repeats=repeats("trial"),
        maps=ancient(maps_of("trial")),
        labels=trial_files("labels"),
        tracks=trial_files("tracks"),
        decoded=ancient(decoded("trial")),
        scored=batches("trial", "results/{dataset}/score/student/{split}/{batch}.json"),
        contact="results/{dataset}/trial/contact.png",
    output:
        table="results/{dataset}/trial/auc.csv",
        details=report(
            directory("results/{dataset}/trial/evaluate"),
            patterns=["{page}.html"],
            category="{dataset}",
        ),
    log:
        "logs/{dataset}/evaluate_trial.log",
    benchmark:
        "benchmarks/{dataset}/evaluate_trial.tsv"
    params:
        cfg=settings_of("trial_evaluation"),
        code=code_of("evaluate"),
        stores=stores("trial"),
        scores=by_model("scores"),
        normal=by_model("normal"),
        repeats=by_seed,
        maps=by_model("maps"),
        labels=by_clip("labels"),
        tracks=by_clip("tracks"),
        layout="folder",
        without_events=[],


use rule evaluate as evaluate_teachers with:
    input:
        scores=lambda wc: scores("trial", teachers)(wc) + scores("alike", teachers)(wc),
        labels=trial_files("labels"),
        decoded=ancient(decoded("trial")),
        without_events=ancient(decoded("alike")),
    output:
        table="results/{dataset}/trial/teachers.csv",
        details=report(
            directory("results/{dataset}/trial/teachers/evaluate"),
            patterns=["{page}.html"],
            category="{dataset}",
        ),
    log:
        "logs/{dataset}/evaluate_teachers.log",
    benchmark:
        "benchmarks/{dataset}/evaluate_teachers.tsv"
    params:
        cfg=settings_of("trial_evaluation"),
        code=code_of("evaluate"),
        stores=stores("trial"),
        scores=by_model("scores"),
        normal=[],
        repeats=[],
        maps=[],
        labels=by_clip("labels"),
        tracks=[],
        layout="folder",
        without_events=stores("alike"),
