# Per-frame anomaly scores of the test split, by the student and by each teacher.
rule score_student:
    input:
        stores=ancient(stores("test", of_batch=True)),
        manifests=manifests("test", of_batch=True),
        student="results/{dataset}/distill/student.safetensors",
    output:
        scores="results/{dataset}/score/student/{batch}.parquet",
        maps=directory("results/{dataset}/score/student/{batch}.zarr"),
        manifest="results/{dataset}/score/student/{batch}.json",
    log:
        "logs/{dataset}/score/student/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/score/student/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        cfg=settings_of("score"),
        code=code_of("score"),
    shell:
        "python -m fastaed score {input.stores:q} --student {input.student:q} --out {output.scores:q} "
        "--maps {output.maps:q} --manifest {output.manifest:q} --settings {params.cfg:q} 2> {log:q}"


rule score_teacher:
    input:
        maps=ancient("results/{dataset}/label/{teacher}/test/{batch}.zarr"),
        labelled="results/{dataset}/label/{teacher}/test/{batch}.json",
    output:
        scores="results/{dataset}/score/{teacher}/{batch}.parquet",
    log:
        "logs/{dataset}/score/{teacher}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/score/{teacher}/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("score"),
    shell:
        "python -m fastaed score {input.maps:q} --out {output.scores:q} 2> {log:q}"
