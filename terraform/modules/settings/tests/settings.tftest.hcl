variables {
  declared = {
    project_id = "example-project"
    labels     = { team = "a" }
    budget     = null
    fleet = {
      autoscaling = { min = 1, cooldown_s = 120, schedules = { day = { min = 2, time_zone = "Etc/UTC" } } }
      images      = { first = { source = "i", disk = { size_gb = 20 } } }
      list        = ["a"]
    }
  }
}

run "takes_what_is_declared" {
  command = plan

  variables {
    given = { "a.tfvars" = {
      project_id = "example-project"
      labels     = { team = "a" }
      budget     = null
      fleet      = { autoscaling = { min = 1, schedules = { day = { min = 2 } } }, images = { first = { disk = { size_gb = 20 } } }, list = ["a"] }
    } }
  }

  assert {
    condition     = output.files == ["a.tfvars"]
    error_message = "The file must have been checked."
  }
}

run "refuses_an_unknown_variable" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { projct_id = "example-project" } } }
}

run "refuses_an_unknown_key_of_an_object" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscalling = { min = 1 } } } } }
}

run "refuses_an_unknown_key_at_the_third_level" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscaling = { cooldwn_s = 60 } } } } }
}

run "refuses_an_unknown_key_of_a_map_s_element" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { images = { first = { sauce = "i" } } } } } }
}

run "refuses_an_unknown_key_at_the_last_level" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscaling = { schedules = { day = { timezone = "Etc/UTC" } } } } } } }
}
