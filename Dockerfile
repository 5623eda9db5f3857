# mlflow-gc as a container that needs no rights: any numeric user, a read-only root file system.
# docs/how-to/kubernetes.md shows its use.
#
#   docker build --tag mlflow-gc .
#   docker run --rm --read-only --tmpfs /tmp --volume plans:/plans \
#       --env MLFLOW_TRACKING_URI --env MLFLOW_TRACKING_TOKEN mlflow-gc report

# The digest decides, the tag explains it; Dependabot updates both.
FROM python:3.13.16-slim-trixie@sha256:bf44cdfcb76cd3b41e879bc058fc37ec5872002ccfde7fcb765e218cde0cd79c

COPY requirements.txt requirements-image.txt LICENSE /opt/mlflow-gc-source/
COPY scripts/install.sh /opt/mlflow-gc-source/scripts/
COPY schemas /opt/mlflow-gc-source/schemas/
COPY mlflow_gc /opt/mlflow-gc-source/mlflow_gc/

# As on any machine, then the drivers of databases and the clients of artifact stores.  The lists are
# complete (--no-deps) and have the hash of every file.  Nothing can be compiled at run time.
# Users of OpenShift have a number of their own, and group 0.
RUN export PIP_NO_CACHE_DIR=1 \
    && /opt/mlflow-gc-source/scripts/install.sh /opt/mlflow-gc \
    && /opt/mlflow-gc/bin/python -I -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --require-hashes --only-binary :all: \
        --requirement /opt/mlflow-gc-source/requirements-image.txt \
    && /opt/mlflow-gc/bin/python -I -m pip check --disable-pip-version-check \
    && /opt/mlflow-gc/bin/python -I -m compileall -q /opt/mlflow-gc-source/mlflow_gc \
    && install -d -m 770 -o 10001 -g 0 /plans

ENV PATH=/opt/mlflow-gc/bin:$PATH HOME=/tmp
USER 10001

# Plans and journals are written here.
WORKDIR /plans
VOLUME /plans

ENTRYPOINT ["mlflow-gc"]
CMD ["--help"]
