# Stand for the images of others in the compose files: Debian's packages, with the users, folders and entry points that
# those images have. The configuration comes from the compose files alone.
FROM debian:bookworm-slim AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-common \
    && sed --in-place 's/^#create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install --yes --no-install-recommends postgresql-15 prometheus prometheus-alertmanager \
    && rm -rf /var/lib/apt/lists/* /etc/prometheus /etc/alertmanager
# A named volume takes over the owner of the folder that it is mounted on.
RUN usermod --non-unique --uid 999 postgres && groupmod --non-unique --gid 999 postgres \
    && install --directory --owner=nobody --group=nogroup /prometheus /alertmanager /etc/prometheus /etc/alertmanager \
    && rm -rf /var/lib/postgresql/data /run/postgresql \
    && install --directory --owner=999 --group=999 --mode=700 /var/lib/postgresql /var/lib/postgresql/data \
    && install --directory --owner=999 --group=999 --mode=3777 /run/postgresql

FROM packages AS prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]

FROM packages AS alertmanager
USER nobody
VOLUME /alertmanager
WORKDIR /alertmanager
ENTRYPOINT ["prometheus-alertmanager"]

FROM packages AS postgres
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin \
    PGDATA=/var/lib/postgresql/data \
    LANG=C.UTF-8
VOLUME /var/lib/postgresql/data
COPY --chmod=755 postgres.sh /usr/local/bin/start-postgres
STOPSIGNAL SIGINT
ENTRYPOINT ["start-postgres"]
