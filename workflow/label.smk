# A teacher's scores of objects, calibrated and painted -> map pyramids; no clip by a model fitted on it.
rule label:
    input:
        detections=ancient("results/{dataset}/detect/{split}/{batch}"),
        detected="results/{dataset}/detect/{split}/{batch}.json",
        teachers=lambda wc: expand(
            "results/{dataset}/teach/{teacher}/{fold}.safetensors",
            dataset=wc.dataset,
            teacher=wc.teacher,
            fold=folds(wc),
        ),
        weights=lambda wc: plan_of(wc.dataset).teacher_weights(wc.teacher, to_fit=False),
    output:
        maps=directory("results/{dataset}/label/{teacher}/{split}/{batch}.zarr"),
        manifest="results/{dataset}/label/{teacher}/{split}/{batch}.json",
    log:
        "logs/{dataset}/label/{teacher}/{split}/{batch}.log",
    benchmark:
        "benchmarks/{dataset}/label/{teacher}/{split}/{batch}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        cfg=settings_of("label"),
        code=code_of_teacher("label"),
        stores=stores(None, of_batch=True),
    shell:
        "python -m fastaed label {params.stores:q} --detections {input.detections:q} "
        "--teachers {input.teachers:q} --out {output.maps:q} --manifest {output.manifest:q} "
        "--settings {params.cfg:q} 2> {log:q}"
