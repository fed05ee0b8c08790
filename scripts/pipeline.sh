#!/usr/bin/env bash
# From nothing to models/so101-tabletop and models/so101-tabletop-int8, with their cards, in one command:
#
#     scripts/pipeline.sh             everything goes into runs/; stop it at any time, run it again, it goes on
#     scripts/pipeline.sh --list      which steps are done, and which are to come
#     scripts/pipeline.sh --tiny      the whole chain in minutes, into runs/tiny; the models know nothing
#
# A step that was carried out leaves runs/done/<step>, with its command line, and is skipped from then on; what
# comes after a step that ran runs too. Another size (STEPS=8000 scripts/pipeline.sh) is another command line:
# its step runs again and takes what is there into account. To start a step over, delete what it has made.
#
# Several GPUs: TRAIN='torchrun --standalone --nproc-per-node 8' scripts/pipeline.sh
#
# Minutes are those of two cores of a 2.8 GHz Ice Lake server without bf16. Watch the scores of the evaluation,
# not the losses. Where no figure stands, nobody has measured it yet at these sizes (LOG.md has what was).
set -euo pipefail
cd "$(dirname "$0")/.."

LIST="" TINY=""
for word in "$@"; do
    case $word in
        --list) LIST=yes ;;
        --tiny) TINY=yes ;;
        *) echo "pipeline.sh: expected --list or --tiny, found '$word'" >&2; exit 2 ;;
    esac
done

if [ "$TINY" ]; then
    : "${RUNS:=runs/tiny}" "${CONFIG:=debug}" "${BATCH:=16}" "${SEE_BATCH:=16}" "${PER_SHARD:=5}"
    : "${SCENES:=80}" "${EPISODES:=20}" "${TAKEOVERS:=2}" "${TAKEOVERS_PER_SHARD:=1}"
    : "${READ_STEPS:=60}" "${SEE_STEPS:=20}" "${STEPS:=20}" "${STUDENT_STEPS:=10}"
    : "${RECORDINGS:=32}" "${TRIALS:=5}" "${ROUNDS:=3}" "${MODEL:=$RUNS/so101-tabletop}"
fi
: "${PYTHON:=.venv/bin/python}" "${TRAIN:=$PYTHON}" "${RUNS:=runs}" "${CONFIG:=nano}"
: "${SCENES:=30000}" "${EPISODES:=4000}" "${TAKEOVERS:=1000}" "${PER_SHARD:=40}" "${TAKEOVERS_PER_SHARD:=10}"
: "${READ_STEPS:=600}" "${SEE_STEPS:=3000}" "${STEPS:=4000}" "${STUDENT_STEPS:=2000}"
: "${BATCH:=64}" "${SEE_BATCH:=128}" "${RECORDINGS:=256}" "${TRIALS:=200}" "${SEED:=7}" "${ROUNDS:=40}"
: "${MODEL:=models/so101-tabletop}"
: "${MODEL_STEPS:=1}" "${MODEL_NOISE:=0}" # what the student is run with: one step, from the middle
INT8=$MODEL-int8 DATA=$RUNS/data TEACHER=$RUNS/teacher STUDENT=$RUNS/student SCORE=$RUNS/score
WEIGHTS=average.safetensors # of every stage: the moving average is what is used

ran=""
step() { # step NAME COMMAND...: carry it out, unless it is done and nothing before it was
    local name=$1 done=$RUNS/done/$1
    shift
    if [ ! "$ran" ] && [ "$(cat "$done" 2>/dev/null)" = "$*" ]; then
        echo "== $name: done" >&2
        return
    fi
    if [ "$LIST" ]; then
        echo "== $name: to come: $*" >&2
        ran=yes
        return
    fi
    ran=yes
    echo "== $name" >&2
    mkdir -p "$RUNS/done"
    rm -f "$done"
    local began=$SECONDS
    "$@"
    echo "== $name took $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s" >&2
    printf '%s' "$*" >"$done"
}

# 1. Single scenes: where is the named thing, and which joints would grasp it, or release over it?
#    5 min
step scenes "$PYTHON" -m edge_wam.train.data scenes --count "$SCENES" --per-shard $((PER_SHARD * 10)) --out "$DATA"
# 2. Demonstrations of every command that may be trained on: the expert, pushed off its way now and then.
#    35 min
step episodes "$PYTHON" -m edge_wam.train.data episodes --count "$EPISODES" --per-shard "$PER_SHARD" --out "$DATA"
# 3. Learn to read, from text alone.
#    20 s; read_held_out_phrasing 1.0, read_held_out_pair 1.0
step read "$PYTHON" -m edge_wam.train.teacher read --out "$TEACHER" --config "$CONFIG" --steps "$READ_STEPS"
# 4. Learn to see, from scenes and demonstrations.
#    55 min (2.2 CPU s a step of 128); key_p50_rad 0.012, place_p50_rad 0.010 after 1,400 steps
step see $TRAIN -m edge_wam.train.teacher see --data "$DATA" --out "$TEACHER" --config "$CONFIG" \
    --start "$TEACHER/read/$WEIGHTS" --batch "$SEE_BATCH" --steps "$SEE_STEPS"
# 5. Learn to act and to imagine, together, from the demonstrations: the first half.
#    45 min (1.2 to 1.4 s a step of 64); row_error 0.21 after 2,000 of 4,000 steps
JOINT=(-m edge_wam.train.teacher joint --data "$DATA" --out "$TEACHER" --config "$CONFIG"
    --start "$TEACHER/see/$WEIGHTS" --batch "$BATCH" --steps "$STEPS")
step first-half $TRAIN "${JOINT[@]}" --until $((STEPS / 2))
# 6. Let that policy drive into its mistakes; the expert takes over, again and again. Worth more than anything
#    else: 72 % of the trials became 93 % by 920 takeovers and the second half of the training.
#    16 min (a second an episode)
EXPORT=(-m edge_wam.train.export --normalisation "$TEACHER/normalisation.json" --data "$DATA" --config "$CONFIG")
step halfway "$PYTHON" "${EXPORT[@]}" --weights "$TEACHER/joint/$WEIGHTS" --out "$TEACHER/halfway"
step takeovers "$PYTHON" -m edge_wam.train.takeover --model "$TEACHER/halfway" --count "$TAKEOVERS" \
    --per-shard "$TAKEOVERS_PER_SHARD" --out "$DATA"
# 7. The second half, with the takeovers.
#    45 min; row_error 0.19, imagined_ratio_end 2.4
step second-half $TRAIN "${JOINT[@]}"
# 8. The teacher: graphs, golden batch, manifest.
step teacher "$PYTHON" "${EXPORT[@]}" --weights "$TEACHER/joint/$WEIGHTS" --out "$TEACHER/model" \
    --steps 10 --name so101-tabletop-teacher
# 9. The student: one step where the teacher takes ten.
#    95 min (2.9 s a step of 64); student2_to_end 0.03, student1_to_end 0.05 after 300 steps
step distil $TRAIN -m edge_wam.train.distill --data "$DATA" --teacher "$TEACHER/joint/$WEIGHTS" \
    --normalisation "$TEACHER/normalisation.json" --out "$STUDENT" --config "$CONFIG" --batch "$BATCH" \
    --steps "$STUDENT_STEPS"
step student "$PYTHON" "${EXPORT[@]}" --weights "$STUDENT/joint/$WEIGHTS" --out "$MODEL" \
    --steps "$MODEL_STEPS" --noise-std "$MODEL_NOISE"
# 10. The student in INT8.
#     3 min
step int8 "$PYTHON" -m edge_wam.train.quantize --model "$MODEL" --data "$DATA" --out "$INT8" \
    --recordings "$RECORDINGS"
# 11. One score for every stage, on the same episodes.
#     25 min
step evaluate "$PYTHON" -m edge_wam evaluate --episodes "$TRIALS" --seed "$SEED" --out "$SCORE" \
    --policy "teacher@10=$TEACHER/model@10" --policy "teacher@1=$TEACHER/model@1" \
    --policy "teacher@1 noiseless=$TEACHER/model@1,0" --policy "student@2=$MODEL@2,1" \
    --policy "student@1=$MODEL@1,1" --policy "student@1 noiseless=$MODEL@1,0" \
    --policy "student-int8@1 noiseless=$INT8@1,0" \
    --plot "$SCORE/score.png" --strip "$SCORE/strip.png"
# 12. How much faster than the eager teacher with its video, and what made it so?
#     2 min
step chain "$PYTHON" -m edge_wam bench chain --model "$MODEL" --rounds "$ROUNDS"
# 13. What was measured goes into manifests and cards.
step card "$PYTHON" -m edge_wam.train.card --model "$MODEL" --results "$SCORE/score.json"
step card-int8 "$PYTHON" -m edge_wam.train.card --model "$INT8" --results "$SCORE/score.json"
