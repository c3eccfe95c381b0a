"""What a builder does with its second disk: it leaves there what GKE's nodes read container images from.

The layout is that of gke-disk-image-builder (ai-on-gke/tools, script/startup.sh, read November 2026), which GKE's page
on secondary boot disks names: an ext4 file system with the content of each committed containerd snapshot below
`snapshots/<n>/fs`, `snapshots.metadata` (chain id, path) and `images.metadata`. Layers are found by their chain id, so
the name of the image does not matter.

The builder tells its end on its first serial port, as that tool does. The image and its digest are attributes of the
instance; the token is the instance's own and is never printed.
"""

from typing import Final

# Name of the second disk in the instance: Linux links it as /dev/disk/by-id/google-<name>.
DEVICE: Final = "llm-image-cache"
IMAGE_ATTRIBUTE: Final = "llm-image"
DIGEST_ATTRIBUTE: Final = "llm-digest"
FILLED: Final = "LLM-DISK filled "
FAILED: Final = "LLM-DISK failed: "

SCRIPT: Final = f"""#!/usr/bin/env bash
set -Eeuo pipefail
stage="begin"
trap 'echo "{FAILED}$stage (line $LINENO)"' ERR
metadata() {{
  curl -sSf -H "Metadata-Flavor: Google" "http://metadata.google.internal/computeMetadata/v1/instance/$1"
}}
image="$(metadata attributes/{IMAGE_ATTRIBUTE})"
digest="$(metadata attributes/{DIGEST_ATTRIBUTE})"
device="/dev/disk/by-id/google-{DEVICE}"
target="${{LLM_DISK_TARGET:-/mnt/llm-image-cache}}"

stage="install containerd"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y containerd jq
systemctl start containerd

stage="make the file system on $device"
mkfs.ext4 -q -F -m 0 -E lazy_itable_init=0,lazy_journal_init=0,discard "$device"
mkdir -p "$target"
mount -o discard,defaults "$device" "$target"

stage="pull $image@$digest"
access=()
if [[ "${{image%%/*}}" == *pkg.dev || "${{image%%/*}}" == *gcr.io ]]; then
  access=(--user "oauth2accesstoken:$(metadata service-accounts/default/token | jq -r .access_token)")
fi
ctr -n k8s.io images pull "${{access[@]}}" "$image@$digest" >/dev/null

stage="copy the layers"
: > "$target/snapshots.metadata"
mapfile -t chains < <(ctr -n k8s.io snapshots ls | awk '$NF == "Committed" {{print $1}}')
[[ ${{#chains[@]}} -gt 0 ]]
for chain in "${{chains[@]}}"; do
  ctr -n k8s.io snapshots view "view-$chain" "$chain" >/dev/null
  # The first directory of the view is the layer's own; those below it follow.
  mounts="$(ctr -n k8s.io snapshots mounts /unused "view-$chain")"
  layer="$(grep -oE '/[^ :,=]+/snapshots/[0-9]+/fs' <<< "$mounts" | sed -n 1p)"
  path="snapshots/$(basename "$(dirname "$layer")")/fs"
  mkdir -p "$target/$(dirname "$path")"
  cp -a "$layer" "$target/$path"
  ctr -n k8s.io snapshots rm "view-$chain"
  echo "$chain $path" >> "$target/snapshots.metadata"
done
ctr -n k8s.io images ls > "$target/images.metadata"

stage="unmount the disk"
sync
umount "$target"
echo "{FILLED}$digest"
"""


def outcome(serial: str) -> tuple[bool, str] | None:
    """Return what the builder told of its end: (True, digest), or (False, the stage that failed); None: nothing yet."""
    for line in serial.splitlines():
        for mark, filled in ((FILLED, True), (FAILED, False)):
            if mark in line:
                return filled, line.partition(mark)[2].strip()
    return None
