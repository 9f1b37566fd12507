# Phase 2: teachers' maps on training footage -> the student.
rule distill:
    input:
        decoded=ancient(decoded("fitting")),
        detections=ancient(batches("train", "results/{dataset}/detect/{split}/{batch}")),
        detected=batches("train", "results/{dataset}/detect/{split}/{batch}.json"),
        maps=ancient(
            batches(
                "train",
                "results/{dataset}/label/{teacher}/{split}/{batch}.zarr",
                teacher=distilled_teachers,
            )
        ),
        labelled=batches(
            "train",
            "results/{dataset}/label/{teacher}/{split}/{batch}.json",
            teacher=distilled_teachers,
        ),
        pretrained=pretrained,
        eyes=given(eyes),
    output:
        student="results/{dataset}/distill/student.safetensors",
        losses="results/{dataset}/distill/losses.csv",
        curves="results/{dataset}/distill/losses.png",
        positives="results/{dataset}/distill/positives.png",
    log:
        "logs/{dataset}/distill.log",
    benchmark:
        "benchmarks/{dataset}/distill.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(2880),
    params:
        cfg=settings_of("distill"),
        code=code_of("distill"),
        stores=stores("fitting"),
        maps=named("maps", -3),
        detector=eyes_of_student,
        contents=contents_of(eyes),
    shell:
        "python -m fastaed distill {params.stores:q} --detections {input.detections:q} --maps {params.maps:q} "
        "--pretrained {input.pretrained:q} {params.detector:q} --out {output.student:q} --losses {output.losses:q} "
        "--curves {output.curves:q} --positives {output.positives:q} --gpus {resources.gpu} "
        "--settings {params.cfg:q} 2> {log:q}"
