# fastaed: raw video to results/<dataset>/auc.csv
#
#   snakemake --cores 8 results/avenue/auc.csv                  the data set's name picks config/avenue.yaml
#   snakemake --cores 8 results/avenue/report                   pictures
#   snakemake --cores 8 results/mycam/auc.csv --config data=/footage detect='{confidence: 0.3}'
#
# One word a stage: the rule file, `fastaed <word>`, the configuration's section and results/<dataset>/<word>/.
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/lock.smk"
include: "workflow/software.smk"
include: "workflow/common.smk"
include: "workflow/demo.smk"
include: "workflow/decode.smk"
include: "workflow/detect.smk"
include: "workflow/teach.smk"
include: "workflow/label.smk"
include: "workflow/pretrain.smk"
include: "workflow/distill.smk"
include: "workflow/score.smk"
include: "workflow/repeats.smk"
include: "workflow/evaluate.smk"
include: "workflow/report.smk"
include: "workflow/trial.smk"
include: "workflow/ablation.smk"


rule all:
    default_target: True
    input:
        "results/demo/auc.csv",
        "results/demo/report",
