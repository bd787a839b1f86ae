# One version each, for a laptop and for the workflow alike; packer/README.md says how to raise it.
# In a file of its own: Packer before 1.7 can check the rest of this folder, but not this block.
packer {
  required_version = ">= 1.11"

  required_plugins {
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = "= 1.2.7" # 1.2.5 and newer have oslogin_ssh_key_expire_after
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "= 1.1.6"
    }
  }
}
