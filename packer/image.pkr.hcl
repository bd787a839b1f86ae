# The image of every VM: Debian, the roles that configure running VMs, and by choice a baked release.
#
#   skfleet app image [--release ID --bucket gs://BUCKET]         what it is made of, into .skfleet/image
#   packer init packer
#   packer build -only=googlecompute.image -var … packer          an image on Compute Engine
#   packer build -only=null.host -var host=… packer               the same on a host that is there already
#
# Both are one build: the same playbook, the same tests, the same clean-up. There is no other provisioner.

locals {
  contents = abspath(var.contents)
  image    = jsondecode(file("${local.contents}/image.json"))

  # Pinned: a family would give two bakes of one commit two bases.
  source_images = {
    "12" = "debian-12-bookworm-v20261006"
    "13" = "debian-13-trixie-v20260921"
  }
  source_image = var.source_image != "" ? var.source_image : local.source_images[var.debian]

  # OS Login's user is in no file of the VM.
  users = var.host == "" ? [] : [var.host_user]

  # Ansible looks from its playbook's folder.
  keys = concat(
    [for name in fileset("${path.root}/trusted-keys", "*.pub") : abspath("${path.root}/trusted-keys/${name}")],
    [for path in var.trusted_keys : abspath(path)],
  )

  # A host that is no VM of Google has no Ops Agent.
  ops_agent = var.host == "" ? "google-cloud-ops-agent" : ""

  family = "${var.name}-${var.environment}"

  # Labels take lower-case letters, digits, dashes and underscores, 63 at most.
  labels = {
    commit          = local.image.commit
    version         = regex_replace(local.image.version, "[^a-z0-9_-]", "-")
    roles           = substr(local.image.bundle, 0, 16)
    image-contracts = join("-", local.image.contracts)
    python          = regex_replace(local.image.python, "[.]", "-")
    release         = regex_replace(local.image.release, "[^a-z0-9_-]", "-")
    trusted-keys    = length(local.keys)
  }
}

source "googlecompute" "image" {
  project_id              = var.project_id
  zone                    = var.zone
  source_image            = local.source_image
  source_image_project_id = ["debian-cloud"]
  machine_type            = var.machine_type
  disk_size               = var.disk_size
  disk_type               = "pd-balanced"

  image_name        = "${local.family}-${formatdate("YYYYMMDD-hhmm", timestamp())}"
  image_family      = local.family
  image_description = "skfleet ${local.image.version} on ${local.source_image}"
  image_labels      = local.labels
  skip_create_image = var.skip_create_image

  # Reached by nobody but through IAP's tunnel, as an OS Login user whose key expires.
  subnetwork                   = var.subnetwork
  omit_external_ip             = true
  use_internal_ip              = true
  use_iap                      = true
  iap_tunnel_launch_wait       = 90
  use_os_login                 = true
  oslogin_ssh_key_expire_after = "1h"
  temporary_key_pair_type      = "ed25519"
  communicator                 = "ssh"
  ssh_username                 = "packer" # OS Login puts the profile's own in its place
  ssh_timeout                  = "5m"

  # An account without roles, so that nothing baked can depend on a credential.
  service_account_email = var.service_account
  scopes                = ["https://www.googleapis.com/auth/cloud-platform"]
  metadata = {
    block-project-ssh-keys = "TRUE"
    serial-port-enable     = "FALSE"
  }
  labels = { skfleet-role = "bake" }

  enable_secure_boot          = true
  enable_vtpm                 = true
  enable_integrity_monitoring = true
}

# A host that runs already, over ssh; whoever made it makes an image of its file system when it is off.
source "null" "host" {
  ssh_host             = var.host
  ssh_username         = var.host_user
  ssh_private_key_file = var.host_private_key_file
  ssh_timeout          = "1m"
}

build {
  sources = ["source.googlecompute.image", "source.null.host"]

  provisioner "ansible" {
    command       = abspath("${path.root}/../.venv/bin/ansible-playbook")
    playbook_file = abspath("${path.root}/../playbooks/image.yml")
    use_proxy     = false
    groups        = ["image"]
    # As JSON: NAME=VALUE would take a blank in a path for the beginning of another variable.
    extra_arguments = ["--extra-vars=${jsonencode({
      image_contents              = local.contents
      image_debian                = var.debian
      image_cleanup_users         = local.users
      runtime_trusted_keys        = local.keys
      observability_agent_package = local.ops_agent
    })}"]
    ansible_env_vars = [
      "ANSIBLE_CONFIG=${abspath("${path.root}/../ansible.cfg")}",
      # In memory: the image must not remember how it was made.
      "ANSIBLE_REMOTE_TEMP=/dev/shm/ansible",
      # The VM is minutes old and gone in minutes; its host keys are nobody's to know.
      "ANSIBLE_HOST_KEY_CHECKING=False",
    ]
  }

  post-processor "manifest" {
    output     = "${local.contents}/manifest.json"
    strip_path = true
    custom_data = {
      source_image = local.source_image
      version      = local.image.version
      release      = local.image.release
      inventory    = "inventory.cdx.json"
    }
  }
}
