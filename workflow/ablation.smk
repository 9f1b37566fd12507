# Students trained with one part off at a time, a few seeds of each -> what each part is worth, and how well the trial foretells the test.
use rule pretrain as pretrain_variant with:
    output:
        autoencoder="results/{dataset}/ablation/{variant}/pretrain/autoencoder.safetensors",
        losses="results/{dataset}/ablation/{variant}/pretrain/losses.csv",
    log:
        "logs/{dataset}/ablation/{variant}/pretrain.log",
    benchmark:
        "benchmarks/{dataset}/ablation/{variant}/pretrain.tsv"
    params:
        cfg=lambda wc: ablation_of(wc.dataset).pretrain_settings(wc.variant),


use rule distill as distill_variant with:
    output:
        student="results/{dataset}/ablation/{variant}/{seed}/distill/student.safetensors",
        losses="results/{dataset}/ablation/{variant}/{seed}/distill/losses.csv",
        curves="results/{dataset}/ablation/{variant}/{seed}/distill/losses.png",
        positives="results/{dataset}/ablation/{variant}/{seed}/distill/positives.png",
    log:
        "logs/{dataset}/ablation/{variant}/{seed}/distill.log",
    benchmark:
        "benchmarks/{dataset}/ablation/{variant}/{seed}/distill.tsv"
    params:
        cfg=lambda wc: ablation_of(wc.dataset).distill_settings(wc.variant, wc.seed),


use rule score_student as score_variant with:
    input:
        decoded=decoded(None, of_batch=True),
        student="results/{dataset}/ablation/{variant}/{seed}/distill/student.safetensors",
    output:
        scores="results/{dataset}/ablation/{variant}/{seed}/score/{part}/{batch}.parquet",
        maps=directory(
            "results/{dataset}/ablation/{variant}/{seed}/score/{part}/{batch}.zarr"
        ),
        manifest="results/{dataset}/ablation/{variant}/{seed}/score/{part}/{batch}.json",
    log:
        "logs/{dataset}/ablation/{variant}/{seed}/score/{part}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/ablation/{variant}/{seed}/score/{part}/{batch}.tsv"


rule ablation:
    input:
        test=lambda wc: (
            students("score/test/{batch}.parquet")(wc) if known_truth(wc) else []
        ),
        labels=given(known_truth),
        trial=students("score/trial/{batch}.parquet"),
        trial_labels=trial_files("labels"),
    output:
        table="results/{dataset}/ablation.csv",
        facts="results/{dataset}/ablation.json",
        picture=report("results/{dataset}/ablation.png", category="{dataset}"),
    log:
        "logs/{dataset}/ablation.log",
    benchmark:
        "benchmarks/{dataset}/ablation.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        cfg=settings_of("evaluate"),
        trial_cfg=settings_of("trial_evaluation"),
        code=code_of("ablation"),
        contents=contents_of(known_truth),
        test=by_student("test"),
        labels=labels_of_clips,
        layout=layout_of,
        trial=by_student("trial"),
        trial_labels=by_clip("trial_labels"),
    shell:
        "python -m fastaed ablation {params.trial:q} --trial-labels {params.trial_labels:q} "
        "--test {params.test:q} --labels {params.labels:q} --layout {params.layout} "
        "--benchmarks benchmarks/{wildcards.dataset}/ablation --dataset {wildcards.dataset:q} --out {output.table:q} "
        "--facts {output.facts:q} --picture {output.picture:q} --trial-settings {params.trial_cfg:q} "
        "--settings {params.cfg:q} 2> {log:q}"
