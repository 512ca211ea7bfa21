/**
 * A step around `picluster run`: a command on boards of the pool, its report and results kept, and nothing left locked when
 * somebody aborts. Wants PICLUSTER_URL, PICLUSTER_PACKAGE and the secret text `picluster-token`. docs/ci-jenkins.md tells the rest.
 *
 *     picluster machines: 'model:pi5 tag:camera', command: './run_tests.sh', copy: 'build/', fetch: 'results/*'
 */
def call(Map asked) {
    def given = [copy: '', fetch: '', options: '', package: env.PICLUSTER_PACKAGE ?: '', credentials: 'picluster-token'] + asked
    def settings = [
        "MACHINES=${given.machines}", "COMMAND=${given.command}", "COPY=${given.copy}", "FETCH=${given.fetch}",
        "OPTIONS=${given.options}", "PACKAGE=${given.package}", "HOME_OF_CLIENT=${env.WORKSPACE_TMP}/picluster",
        "OUT=${env.WORKSPACE}/picluster-out",
        "JOB=${env.BUILD_TAG}, ${env.STAGE_NAME} ${UUID.randomUUID()}", // cells of a matrix have their stage's name in common
    ]
    withEnv(settings) {
        withCredentials([string(credentialsId: given.credentials, variable: 'PICLUSTER_TOKEN')]) {
            try {
                sh label: 'Install picluster', script: '''
                    rm -rf "$OUT" && mkdir -p "$OUT"
                    python3 -m venv "$HOME_OF_CLIENT"
                    "$HOME_OF_CLIENT/bin/pip" install --quiet "${PACKAGE:?names the client that pip installs}"
                '''
                sh label: 'Run on boards', script: '''
                    set -euf
                    line=$(printf '\\n.') && IFS=${line%.}
                    for path in ${COPY-}; do set -- "$@" --copy "$path"; done
                    for pattern in ${FETCH-}; do set -- "$@" --fetch "$pattern"; done
                    unset IFS
                    # shellcheck disable=SC2086  # words are meant
                    exec "$HOME_OF_CLIENT/bin/picluster" run --on "$MACHINES" --job "$JOB" --out "$OUT" --junit "$OUT/junit.xml" "$@" ${OPTIONS-} -- "$COMMAND"
                '''
            } catch (InterruptedException aborted) {
                sh label: 'Give back what is left', script: '''
                    "$HOME_OF_CLIENT/bin/picluster" unlock --job "$JOB"
                '''
                throw aborted
            } finally {
                dir(env.WORKSPACE) {
                    junit allowEmptyResults: true, testResults: 'picluster-out/junit.xml'
                    archiveArtifacts allowEmptyArchive: true, artifacts: 'picluster-out/**'
                }
            }
        }
    }
}
