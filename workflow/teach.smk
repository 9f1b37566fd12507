# Objects of normal clips -> one teacher, fitted on all training clips but those of one fold.
rule teach:
    input:
        detections=ancient(batches("train", "results/{dataset}/detect/{split}/{batch}")),
        detected=batches("train", "results/{dataset}/detect/{split}/{batch}.json"),
        weights=given(teacher_weights),
    output:
        teacher="results/{dataset}/teach/{teacher}/{fold}.safetensors",
        losses="results/{dataset}/teach/{teacher}/{fold}.csv",
    log:
        "logs/{dataset}/teach/{teacher}/{fold}.log",
    benchmark:
        "benchmarks/{dataset}/teach/{teacher}/{fold}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(720),
    params:
        cfg=lambda wc: plan_of(wc.dataset).teach_settings(wc.teacher),
        code=code_of_teacher("teach"),
        contents=contents_of(teacher_weights),
        stores=stores("train"),
        detector=eyes_of_teacher,
    shell:
        "python -m fastaed teach {wildcards.teacher} --fold {wildcards.fold} --stores {params.stores:q} "
        "--detections {input.detections:q} {params.detector:q} --out {output.teacher:q} --losses {output.losses:q} "
        "--settings {params.cfg:q} 2> {log:q}"
