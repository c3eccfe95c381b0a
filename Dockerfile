# Airflow with this package, every cloud's extra and the simulator: the image of docker-compose.yaml.
FROM python:3.11-slim-bookworm

RUN pip install --no-cache-dir uv==0.13.9 \
    && useradd --uid 50000 --create-home --home-dir /opt/airflow airflow

WORKDIR /opt/llm-provisioning
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY airflow_llm_provisioning ./airflow_llm_provisioning
COPY simulator ./simulator
# Compiled, because an Airflow that is not needs 15 s and more for every start.
RUN uv pip install --system --no-cache --compile-bytecode --constraints constraints.txt \
    '.[amazon,google,microsoft-azure,simulator,celery]'

COPY airflow_llm_provisioning/example_dags /opt/airflow/dags
COPY docker/with_simulator.py docker/make_secrets.py /opt/airflow/docker/
# A named volume takes the owner of the folder it is first mounted on.
RUN mkdir -p /opt/airflow/logs /run/simulator /run/secrets-of-airflow \
    && chown -R airflow:airflow /opt/airflow /run/simulator /run/secrets-of-airflow

USER airflow
WORKDIR /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow
EXPOSE 8080
CMD ["airflow", "version"]
