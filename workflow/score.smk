# Per-frame anomaly scores of the test split, the trial and parts of the training split, by the student and by each teacher.
rule score_student:
    input:
        decoded=decoded(None, of_batch=True),
        student="results/{dataset}/distill/student.safetensors",
    output:
        scores="results/{dataset}/score/student/{part}/{batch}.parquet",
        maps=directory("results/{dataset}/score/student/{part}/{batch}.zarr"),
        manifest="results/{dataset}/score/student/{part}/{batch}.json",
    log:
        "logs/{dataset}/score/student/{part}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/score/student/{part}/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        cfg=settings_of("score"),
        code=code_of("score"),
        stores=stores(None, of_batch=True),
    shell:
        "python -m fastaed score {params.stores:q} --student {input.student:q} --out {output.scores:q} "
        "--maps {output.maps:q} --manifest {output.manifest:q} --settings {params.cfg:q} 2> {log:q}"


rule score_teacher:
    input:
        maps=ancient(labelled_with("zarr")),
        labelled=labelled_with("json"),
    output:
        scores="results/{dataset}/score/{teacher}/{part}/{batch}.parquet",
        manifest="results/{dataset}/score/{teacher}/{part}/{batch}.json",
    log:
        "logs/{dataset}/score/{teacher}/{part}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/score/{teacher}/{part}/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=code_of("score"),
        clips=lambda wc: plan_of(wc.dataset).clips_of_batch(wc.part, wc.batch),
    shell:
        "python -m fastaed score {input.maps:q} --clips {params.clips:q} --out {output.scores:q} "
        "--manifest {output.manifest:q} 2> {log:q}"
