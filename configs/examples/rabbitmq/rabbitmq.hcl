# RabbitMQ brokers that come and go, on Debian's RabbitMQ 3.10 (apt-get install rabbitmq-server).
# Needs root, and one epmd on each host: systemctl enable --now epmd.
statefulset "rabbitmq" {
  replicas = 3

  # Quorum queues want a moment to catch up before the next broker may go.
  min_ready = "3s"

  volume "data" {
    size       = "5Gi"
    mount_path = "/var/lib/rabbitmq"
  }

  process "rabbitmq" {
    user        = "rabbitmq"
    command     = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
    working_dir = "/var/lib/rabbitmq"
    env = {
      HOME = "/var/lib/rabbitmq"
      # Names are for good: data is under them. The part before @ and the distribution's port
      # are known to the host's epmd, which all brokers of a host share.
      RABBITMQ_NODENAME             = "${member.name}@${member.fqdn}"
      RABBITMQ_USE_LONGNAME         = "true"
      RABBITMQ_DIST_PORT            = "${25672 + member.ordinal}"
      RABBITMQ_CONF_ENV_FILE        = "/dev/null"
      RABBITMQ_CONFIG_FILE          = "/var/lib/rabbitmq/rabbitmq.conf"
      RABBITMQ_ENABLED_PLUGINS_FILE = "/var/lib/rabbitmq/enabled_plugins"
      RABBITMQ_MNESIA_BASE          = "/var/lib/rabbitmq/mnesia"
      RABBITMQ_LOG_BASE             = "/var/lib/rabbitmq/log"
      RABBITMQ_PID_FILE             = "/var/lib/rabbitmq/pid"
      RABBITMQ_GENERATED_CONFIG_DIR = "/var/lib/rabbitmq/generated"
      ERL_CRASH_DUMP                = "/dev/null"
      # No shell stays between supd and the broker.
      RUNNING_UNDER_SYSTEMD = "true"
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS = "-kernel inet_dist_use_interface {${replace(member.ip, ".", ",")}} +sbwt none +sbwtdcpu none +sbwtdio none"
    }

    # Who knows the cookie may do all.
    file "/var/lib/rabbitmq/.erlang.cookie" {
      mode      = "0400"
      from_file = "/etc/supd/secrets/rabbitmq/cookie"
    }
    file "/var/lib/rabbitmq/definitions.json" { from_file = "/etc/supd/secrets/rabbitmq/definitions.json" }
    file "/var/lib/rabbitmq/enabled_plugins" { content = "[].\n" }
    file "/var/lib/rabbitmq/rabbitmq.conf" {
      content = <<-EOT
        listeners.tcp.1 = ${member.ip}:${port.amqp}
        cluster_formation.peer_discovery_backend = classic_config
        # Who finds nobody to join begins alone in the end. Only the first of a new set may.
        cluster_formation.discovery_retry_limit = %{ if member.ordinal == members[0].ordinal && !set.formed }2%{ else }1000000%{ endif }
        %{ for i, m in members ~}
        cluster_formation.classic_config.nodes.${i + 1} = ${m.name}@${m.fqdn}
        %{ endfor ~}
        cluster_partition_handling = pause_minority
        cluster_name = ${set.name}
        load_definitions = /var/lib/rabbitmq/definitions.json
        log.console = true
        log.file = false
        vm_memory_high_watermark.relative = 0.4
      EOT
    }

    file "/var/lib/rabbitmq/membership" {
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # membership join | grow | leave | forget NODE: all of it may be done twice.
        set -eu
        PATH=$PATH:/usr/lib/rabbitmq/bin
        cd /var/lib/rabbitmq
        me=$RABBITMQ_NODENAME
        peer() { # the first that answers
          for node in ${join(" ", [for m in peers : "${m.name}@${m.fqdn}"])}; do rabbitmqctl --quiet --node $node "$@" && return; done
          return 1
        }
        case $1 in
        join)
          known=$(peer eval "lists:member('$me', rabbit_nodes:all()).")
          # RabbitMQ refuses what a forgotten broker has kept. And whose directory is lost has lost its part of all queues.
          if [ "$known" = false ]; then rm -rf mnesia; elif [ ! -e mnesia ]; then peer forget_cluster_node "$me"; fi
          touch joining
          ;;
        grow)
          [ -e joining ] || exit 0
          until bash -c 'exec 3<>/dev/tcp/${member.ip}/${port.amqp}' 2>/dev/null; do sleep 0.5; done
          # Three of a kind are enough: from the fourth broker on only pairs are made three.
          rabbitmq-queues --quiet grow "$me" %{ if member.ordinal < members[0].ordinal + 3 }all%{ else }even%{ endif }
          rm joining
          ;;
        leave)
          if ! told=$(rabbitmqctl --quiet eval_file leave.erl); then
            known=$(peer eval "lists:member('$me', rabbit_nodes:all()).")
            [ "$known" = true ] || exit 0     # an earlier try has done it,
            rabbitmqctl --quiet start_app     # or got as far as to stop it
            exit 1
          fi
          [ "$told" = '[]' ] || { echo "$told" >&2; exit 1; }
          # While it still answers: one of two would pause as the minority, and could forget nobody.
          rabbitmqctl --quiet stop_app
          peer forget_cluster_node "$me" || { rabbitmqctl --quiet start_app; exit 1; }
          ;;
        forget) # who was removed without leaving
          told=$(rabbitmqctl --quiet forget_cluster_node "$2" 2>&1) && exit 0
          case $told in *not_a_cluster_node*) ;; *) echo "$told" >&2; exit 1 ;; esac
          ;;
        esac
      EOT
    }

    # Of quorum queues the lowest brokers, who stay the longest, take over what this one has. It
    # may not leave with others, such as classic ones, that are on no other broker.
    file "/var/lib/rabbitmq/leave.erl" {
      content = <<-EOT
        Failed = fun(Results) -> [{Name, Error} || {Name, Error} <- Results, element(1, Error) =/= ok] end,
        Grown = [rabbit_quorum_queue:grow(N, <<".*">>, <<".*">>, all) || N <- [${join(", ", [for i, m in peers : "'${m.name}@${m.fqdn}'" if i < 3])}]],
        Here = [rabbit_misc:rs(amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list(), amqqueue:is_durable(Q),
          amqqueue:get_exclusive_owner(Q) =:= none, maps:get(nodes, amqqueue:get_type_state(Q), [amqqueue:qnode(Q)]) =:= [node()]],
        case {Failed(lists:append(Grown)), Here} of
          {[], []} -> Failed(rabbit_quorum_queue:shrink_all(node()));
          {[], _} -> {on_this_broker_only, Here};
          {Errors, _} -> Errors
        end.
      EOT
    }

    hook "on_join" { command = ["/var/lib/rabbitmq/membership", "join"] }
    hook "post_start" {
      command = ["/var/lib/rabbitmq/membership", "grow"]
      timeout = "5m"
    }
    hook "on_leave" { command = ["/var/lib/rabbitmq/membership", "leave"] }
    hook "after_leave" { command = ["/var/lib/rabbitmq/membership", "forget", "${leaver.name}@${leaver.fqdn}"] }

    port "amqp" { port = 5672 }

    # The port is open when the broker has started; its own tools cost a second of CPU.
    readiness {
      exec    = ["/bin/bash", "-c", "exec 3<>/dev/tcp/${member.ip}/${port.amqp} && printf 'AMQP\\0\\0\\11\\1' >&3 && head -c 1 <&3 | od -An -tx1"]
      expect  = "01"
      period  = "1s"
      timeout = "3s"
    }

    stop { timeout = "2m" }
  }
}
