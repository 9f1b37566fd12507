# The same student trained with other seeds, for means and spreads in the table.
use rule distill as distill_repeat with:
    output:
        student="results/{dataset}/repeats/{seed}/distill/student.safetensors",
        losses="results/{dataset}/repeats/{seed}/distill/losses.csv",
        curves="results/{dataset}/repeats/{seed}/distill/losses.png",
        positives="results/{dataset}/repeats/{seed}/distill/positives.png",
    log:
        "logs/{dataset}/repeats/{seed}/distill.log",
    benchmark:
        "benchmarks/{dataset}/repeats/{seed}/distill.tsv"
    params:
        cfg=lambda wc: plan_of(wc.dataset).distill_settings(wc.seed),


use rule score_student as score_repeat with:
    input:
        decoded=decoded(None, of_batch=True),
        student="results/{dataset}/repeats/{seed}/distill/student.safetensors",
    output:
        scores="results/{dataset}/repeats/{seed}/score/student/{part}/{batch}.parquet",
        maps=directory(
            "results/{dataset}/repeats/{seed}/score/student/{part}/{batch}.zarr"
        ),
        manifest="results/{dataset}/repeats/{seed}/score/student/{part}/{batch}.json",
    log:
        "logs/{dataset}/repeats/{seed}/score/student/{part}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/repeats/{seed}/score/student/{part}/{batch}.tsv"
